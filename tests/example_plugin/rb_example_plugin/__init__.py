"""An attack and a detector for robustbench-aigi, as an example."""
