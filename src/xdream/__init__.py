"""XDream: evolve the image that a neuron likes best, without gradients."""
