"""Users of a tracking server: what they may do is one of three roles, kept by the server.

MLflow's own interface over HTTP, so that nothing heavy is imported.
"""

import argparse
import base64
import getpass
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from errors import StartError
from tracking_folder import ADMIN, ServerFolder, write_private

_WORKSPACE = "default"
_ROLES = {
    "READ": (None, ()),
    "EDIT": ("writer", (("workspace", "USE"), ("experiment", "EDIT"), ("registered_model", "EDIT"))),
    "MANAGE": ("manager", (("workspace", "USE"), ("experiment", "MANAGE"), ("registered_model", "MANAGE"))),
}
"""Permission -> name of the role and its grants on everything. A reader has none: reading is the default."""
PERMISSIONS = tuple(_ROLES)


def manage_users(arguments: argparse.Namespace) -> None:
    """Do what ``tracking_server.py users`` is asked for.

    Raises:
        StartError: If the server does not answer or refuses.
    """
    folder = ServerFolder(arguments.folder)
    server = Server(folder.read_address(), folder.read_admin_password())
    match arguments.action:
        case "list":
            for name, permission in server.list_users():
                print(f"{permission:8}{name}")
        case "add":
            server.add_user(arguments.name, read_password(), arguments.permission)
            print(f"added {arguments.name}, who may {arguments.permission}")
        case "permit":
            server.set_permission(arguments.name, arguments.permission)
            print(f"{arguments.name} may {arguments.permission}")
        case "password":
            password = read_password()
            server.set_password(arguments.name, password)
            if arguments.name == ADMIN:
                write_private(folder.admin_password_file, password)
            print(f"{arguments.name} has a new password; the old one ends within a minute")
        case "remove":
            server.remove_user(arguments.name)
            print(f"removed {arguments.name}; their runs and models stay")


def read_password() -> str:
    """A new password: asked for twice at a terminal, else the first line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("New password (12 characters or more): ")
    if getpass.getpass("Again: ") != password:
        raise StartError("the two passwords differ; nothing was changed")
    return password


class Server:
    """A running server, as its administrator sees it."""

    def __init__(self, address: str, password: str) -> None:
        self._address = address
        self._password = password
        self._login = base64.b64encode(f"{ADMIN}:{password}".encode()).decode()
        # Not through a proxy that the environment names: the server is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def has_this_password(self) -> bool:
        """Whether the administrator's password is the one given."""
        try:
            self._ask("GET", "2.0/mlflow/users/current")
        except StartError:
            return False
        return True

    def list_users(self) -> list[tuple[str, str]]:
        """(name, permission) of all."""
        users = self._ask("GET", "2.0/mlflow/users/list")["users"]
        return [(user["username"], self._permission_of(user)) for user in users]

    def add_user(self, name: str, password: str, permission: str) -> None:
        """Make a user who may do what ``permission`` names."""
        try:
            self._ask("POST", "2.0/mlflow/users/create", username=name, password=password)
        except StartError as error:
            if "already exists" not in str(error):
                raise
            raise StartError(
                f"user {name} already exists; 'users permit {name}' changes what they may do, "
                f"'users password {name}' their password"
            ) from None
        self.set_permission(name, permission)

    def set_permission(self, name: str, permission: str) -> None:
        """Change what a user may do; what is theirs stays theirs."""
        if name == ADMIN:
            raise StartError(f"{ADMIN} may do everything, always; name another user")
        wanted, grants = _ROLES[permission]
        for role in self._roles_of(name):
            self._ask("DELETE", "3.0/mlflow/roles/unassign", username=name, role_id=role["id"])
        if wanted is not None:
            self._ask("POST", "3.0/mlflow/roles/assign", username=name, role_id=self._role(wanted, grants))

    def set_password(self, name: str, password: str) -> None:
        """Change a password; the old one ends within a minute."""
        own = {"current_password": self._password} if name == ADMIN else {}
        self._ask("PATCH", "2.0/mlflow/users/update-password", username=name, password=password, **own)

    def remove_user(self, name: str) -> None:
        """Remove a user; their runs and models stay."""
        self._ask("DELETE", "2.0/mlflow/users/delete", username=name)

    def _permission_of(self, user: dict[str, Any]) -> str:
        if user["is_admin"]:
            return "ADMIN"
        names = {role["name"] for role in self._roles_of(user["username"])}
        return next((permission for permission, (name, _) in _ROLES.items() if name in names), "READ")

    def _roles_of(self, name: str) -> list[dict[str, Any]]:
        roles = self._ask("GET", f"3.0/mlflow/users/roles/list?username={urllib.parse.quote(name)}")["roles"]
        return [role for role in roles if role["name"] in {known for known, _ in _ROLES.values()}]

    def _role(self, name: str, grants: tuple[tuple[str, str], ...]) -> int:
        """The number of a role, which is made or completed if need be."""
        roles = self._ask("GET", f"3.0/mlflow/roles/list?workspace={_WORKSPACE}")["roles"]
        role = next((role for role in roles if role["name"] == name), None)
        if role is None:
            role = self._ask("POST", "3.0/mlflow/roles/create", workspace=_WORKSPACE, name=name)["role"]
        present = {(grant["resource_type"], grant["permission"]) for grant in role["permissions"]}
        for kind, permission in grants:
            if (kind, permission) not in present:
                self._ask(
                    "POST",
                    "3.0/mlflow/roles/permissions/add",
                    role_id=role["id"],
                    resource_type=kind,
                    resource_pattern="*",
                    permission=permission,
                )
        return role["id"]

    def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._address}/api/{path}",
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"Basic {self._login}", "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise StartError(f"the server refuses: {_reason(error)}") from None
        except OSError as error:
            raise StartError(
                f"{self._address} does not answer ({getattr(error, 'reason', error)}); start the server first"
            ) from None


def _reason(error: urllib.error.HTTPError) -> str:
    """The server's words, without the database's, which show how a password is stored."""
    text = error.read().decode(errors="replace")
    with_words = text.startswith("{")
    message = json.loads(text).get("message", "") if with_words else text
    return (
        message.splitlines()[0].partition(" Error: (")[0]
        if message.strip()
        else f"{error.code} {error.reason}"
    )
