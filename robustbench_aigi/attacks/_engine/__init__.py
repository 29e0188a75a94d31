"""What attacks share: the counted view of a detector, norm balls, batching, checks of the input."""
