"""`python -m collector` is `butterfly`."""

from collector.cli import main

if __name__ == "__main__":
    main()
