"""Pack the schemas that the manifests are checked against.

    python tests/k8s/pack_schemas.py OPENAPI.json CRD.yaml ...

OPENAPI.json holds ``{"kinds": {"apps/v1/Deployment": name}, "schemas": {name: schema}}``, from what an API
server gives under ``/openapi/v3``; each CRD.yaml is a CustomResourceDefinition as its project publishes it.
Writes ``schemas.json.gz`` beside this file, without descriptions. That file holds Kubernetes 1.36.2, Kubeflow
Trainer 2.3.0 (658725b), KubeRay 1.7.0 (59d663a) and Kueue (ff69552 of 23 August 2026), all Apache-2.0.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).with_name("schemas.json.gz")


def main() -> None:
    """Read, strip and write."""
    openapi = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    custom = {}
    for path in sys.argv[2:]:
        spec = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["spec"]
        for version in spec["versions"]:
            if version["storage"]:
                kind = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
                custom[kind] = {"scope": spec["scope"], "schema": strip(version["schema"]["openAPIV3Schema"])}
    content = {"core": openapi, "custom": custom}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    TARGET.write_bytes(gzip.compress(text.encode(), mtime=0))


def strip(schema: Any, *, names: bool = False) -> Any:
    """A schema without descriptions; below ``properties`` a key is a field's name."""
    if isinstance(schema, list):
        return [strip(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: strip(value, names=not names and key == "properties")
        for key, value in schema.items()
        if names or key != "description"
    }


if __name__ == "__main__":
    main()
