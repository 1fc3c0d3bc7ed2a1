"""Device, processes, compilation and CUDA graphs."""
