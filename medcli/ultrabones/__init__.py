"""UltraBones100k, bone surfaces in ultrasound."""
