"""Room one: UltraBones100k, bone surfaces in ultrasound."""
