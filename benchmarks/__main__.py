"""`python -m benchmarks [--quick]`: run every script of this folder and keep their JSON lines in `results.json`."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent


def main() -> int:
    """Run all; gives 1 if a script failed or a case did not meet its aim."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute a script")
    options = parser.parse_args()
    results = []
    is_good = True
    for script in sorted(path for path in FOLDER.glob("*.py") if not path.name.startswith("_")):
        arguments = ["--quick"] if options.quick else []
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{script.stem}", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        sys.stdout.write(done.stdout)
        sys.stdout.flush()
        cases = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        results += cases
        is_good = is_good and done.returncode == 0 and all(case["met"] for case in cases)
    (FOLDER / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
