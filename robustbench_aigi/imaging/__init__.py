"""Pure functions on pixels: the 8-bit grid, the DCT, norms, quality measures, PNG chunks."""
