"""`python -m admin` is `metergate`."""

from admin.cli import main

if __name__ == "__main__":
    main()
