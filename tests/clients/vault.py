"""Reads or writes a secret of the KV engine, version 2, with hvac. What is read is printed as JSON: data and metadata."""
import argparse
import json
import sys

import hvac

parser = argparse.ArgumentParser()
parser.add_argument("do", choices=["read", "write"])
parser.add_argument("id")
for option in ["url", "token", "ca"]:
    parser.add_argument(f"--{option}", required=True)
args = parser.parse_args()

engine = hvac.Client(url=args.url, token=args.token, verify=args.ca).secrets.kv.v2
if args.do == "write":
    engine.create_or_update_secret(path=args.id, secret=json.load(sys.stdin))
else:
    try:
        print(json.dumps(engine.read_secret_version(path=args.id, raise_on_deleted_version=True)["data"]))
    except hvac.exceptions.InvalidPath:
        print("null")
