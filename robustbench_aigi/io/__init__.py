"""Files that are whole or absent, locks, hashes, and folders at URLs."""
