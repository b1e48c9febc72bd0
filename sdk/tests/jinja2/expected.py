"""Prints the table `expressions.json` again, with what the Jinja2 of this Python makes of each template.

`null` stands for a template that fails. To add one: write it into the table with any value, run

    python3 expected.py expressions.json > new.json && mv new.json expressions.json

and look at the difference.
"""

import json
import sys

import jinja2


def rendered(environment, template, variables):
    try:
        return environment.from_string(template).render(variables)
    except Exception:  # noqa: BLE001: that it fails is what is recorded
        return None


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        table = json.load(file)
    environment = jinja2.Environment()
    variables, templates = table["variables"], table["templates"]
    table["templates"] = {template: rendered(environment, template, variables) for template in templates}
    json.dump(table, sys.stdout, indent=2, ensure_ascii=False)
    print()


main()
