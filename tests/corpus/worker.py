#!/usr/bin/python3
"""A worker of tests/corpus/run, inside a world that tests/e2e/run makes: reads configurations, a line of JSON each, and writes their rows."""

import json
import os
import pathlib
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from harness import client, machine  # noqa: E402
from kit import apache_place, nginx_place, trial, world  # noqa: E402

PLACES = {"nginx": nginx_place.NginxPlace, "apache": apache_place.ApachePlace}


def main():
    settings = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what servers print is no row
    try:
        client.program()
        here = world.World(settings["kinds"], settings["nginx"])
    except (machine.Unavailable, FileNotFoundError) as why:
        out.write(json.dumps({"unavailable": str(why)}) + "\n")
        return
    out.write(json.dumps({"whole": here.whole}) + "\n")
    for line in sys.stdin:
        config = json.loads(line)
        try:
            row = trial.try_configuration(here, config, PLACES[config["server"]], settings["all"])
        except Exception:
            row = {"title": config["title"], "server": config["server"], "names": 0, "enabled": 0, "refused": {}, "skipped": "", "seconds": 0,
                   "failed": [("harness", traceback.format_exc())]}
        row["words"] = here.words
        out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
