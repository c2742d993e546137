"""Where the image of a tracked ultrasound probe lies at its marker: from a phantom of points or wires."""
