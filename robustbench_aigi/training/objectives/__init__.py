"""Building blocks of training methods: losses on clean and attacked images, and scores."""
