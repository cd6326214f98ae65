"""`python -m tasks.training SPEC.json` trains one phase."""

import sys

from tasks.training.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
