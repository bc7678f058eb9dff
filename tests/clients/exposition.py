#!/usr/bin/env python3
"""Parses metrics on standard input as OpenMetrics or in the text format of Prometheus, by the parsers of Prometheus'
library for Python, of which that of OpenMetrics is strict, and prints the families by their types as JSON.

exposition.py openmetrics|text
"""

import json
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

PARSERS = {
    "openmetrics": openmetrics.text_string_to_metric_families,
    "text": text.text_string_to_metric_families,
}


def main():
    families = PARSERS[sys.argv[1]](sys.stdin.read())
    print(json.dumps({family.name: family.type for family in families}))


main()
