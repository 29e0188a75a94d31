"""``python -m robustbench_aigi`` runs the command."""

from robustbench_aigi.cli.main import main

if __name__ == "__main__":
    main()
