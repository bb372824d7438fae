"""The pipeline of gradients, and the bases of what is put into it."""
