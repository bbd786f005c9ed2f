"""Networks and their decoding on CUDA as one captured graph of fixed shapes."""
