"""`python -m dashboard`: serves the pages until it is stopped.

What an operator can mend ends with one sentence on standard error and exit code 1; a traceback is a defect.
"""

import errno
import socket
import sys

from dashboard import app
from dashboard.settings import BadSetting, Settings


def main() -> int:
    """Serve; gives the exit code."""
    try:
        settings = Settings.from_environment()
        listener = _listen(settings)
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return 1
    host, port = listener.getsockname()[:2]
    with listener:
        sys.stdout.write(f"Dashboard: http://{f'[{host}]' if ':' in host else host}:{port}\n")
        sys.stdout.flush()
        app.serve(settings, listener)
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        # Listening already here: with SO_REUSEADDR two processes may bind one port, but only one may listen.
        listener.listen(128)
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise BadSetting(f"Another program uses {where}: stop it, or set SHOAL_DASHBOARD_PORT.") from error
        reason = error.strerror or str(error)
        raise BadSetting(f"The dashboard cannot listen on {where} ({reason}): see SHOAL_DASHBOARD_HOST.") from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
