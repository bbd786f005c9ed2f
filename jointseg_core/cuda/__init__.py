"""What runs the networks on CUDA without asking the host: one graph of fixed shapes."""
