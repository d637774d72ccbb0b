"""What to do when a worklist server cannot be reached: the driver's words to the next step."""

from __future__ import annotations

_ASK = "Check the network, the address and your password file (~/.pgpass), then try again."
_ADDRESS = "?sslmode=verify-full&sslrootcert=FILE"
# The first that fits counts; parts of the messages of libpq 14 to 18 and of the server.
_REMEDIES = (
    (
        ("does not match host name",),
        "Write the server's name as its certificate has it into the address; if it is the right name, ask whoever runs the server.",
    ),
    (
        ("certificate verify failed", "unable to get local issuer", "self-signed certificate", "self signed certificate"),
        f"Name the certificate of the authority that signed the server's in the address ({_ADDRESS}); whoever runs the server has it. "
        "If it worked before, its certificate may have run out, or somebody else answers in its place.",
    ),
    (
        ("root certificate file", "could not read root certificate"),
        f"Copy the certificate of your server's authority to this computer, and name its file in the address ({_ADDRESS}).",
    ),
    (
        ("no encryption", "SSL off"),
        f"The server admits your user only with TLS, or not at all: end the address with {_ADDRESS}, or ask whoever runs the server.",
    ),
    (
        ("does not support SSL",),
        "Ask whoever runs the server to turn TLS on (ssl = on); without it passwords and names of cases can be read on the network.",
    ),
    (
        ('FATAL:  role "',),
        "Name your user in the address (postgresql://USER@SERVER/DATABASE) or in PGUSER; without it the name of your account is taken.",
    ),
    (("no pg_hba.conf entry",), "Ask whoever runs the server to admit your user, database and network in pg_hba.conf."),
    (("could not translate host name", "Name or service not known"), "Check the name of the server in the address, and the network."),
)


def remedy_of(text: str) -> str:
    """Return the next step for a message of the driver or the server."""
    return next((remedy for parts, remedy in _REMEDIES if any(part in text for part in parts)), _ASK)
