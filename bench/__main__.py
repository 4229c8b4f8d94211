"""`python -m bench`, where no script of that name is on the path."""

from bench.cli import main

if __name__ == "__main__":
    main()
