"""What a training lowers: losses on clean and attacked images, one file per method."""
