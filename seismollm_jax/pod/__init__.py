"""What a training step needs and would do on a TPU slice, found out without one."""
