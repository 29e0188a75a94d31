"""What the commands do, as functions: run, train, evaluate, plan, and the work on datasets."""
