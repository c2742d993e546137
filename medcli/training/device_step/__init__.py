"""What makes a training step fast on a GPU: fewer and better kernels, and one recording of all of them."""
