"""`python -m tasks.training SPEC.json` trains one phase."""

import logging
import os
import sys
import traceback

from infra.secrets import redacted_error
from tasks.training.worker import main

if __name__ == "__main__":
    status = 1
    try:
        status = main(sys.argv[1:])
    except Exception as error:
        traceback.print_exception(redacted_error(error))
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # all is written, and Python takes seconds to take torch's modules apart
