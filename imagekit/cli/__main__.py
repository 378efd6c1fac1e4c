"""`python -m imagekit.cli`."""

from imagekit.cli.main import main

main()
