"""`python -m scarlens` is the command `scarlens`."""

from scarlens.cli import main

if __name__ == "__main__":
    main()
