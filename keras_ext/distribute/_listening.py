"""A port of the first worker, open to as few as possible."""

import errno
import ipaddress
import socket
from collections.abc import Sequence

from keras_ext.distribute._cluster import Cluster


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of `"host:port"`; an IPv6 address stands in brackets there."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def listen(cluster: Cluster) -> socket.socket:
    """Listens at the address of the first worker, as this machine knows it.

    It listens at all addresses only if that one is not known here: behind a network
    that translates addresses, or while a name cannot be resolved yet.

    Raises:
        RuntimeError: If the port is in use.
    """
    address = cluster.addresses[0]
    places = [*_addresses(cluster), ("", socket.AF_INET)]
    servers = (_server(address, host, family) for host, family in places)
    return next(server for server in servers if server is not None)


def _server(
    address: str, host: str, family: socket.AddressFamily
) -> socket.socket | None:
    """Listens at one place; None if this machine does not have it."""
    _, port = host_and_port(address)
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise RuntimeError(
            f"Worker 0 cannot listen at {address}: {error.strerror}. "
            "Does another program use the port, or a second worker 0?"
        ) from error


def _addresses(cluster: Cluster) -> Sequence[tuple[str, socket.AddressFamily]]:
    """What the first worker's host resolves to, where the others may look for it."""
    host, port = host_and_port(cluster.addresses[0])
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    addresses = [(str(place[0]), family) for family, _, _, _, place in found]
    hosts = {host_and_port(address)[0] for address in cluster.addresses}
    if len(hosts) == 1:
        return addresses
    # Some systems have their own name at 127.0.1.1, where no other machine comes to.
    others = hosts - {host}
    if all(map(_is_of_this_machine, others)):
        return addresses
    return [pair for pair in addresses if not _is_of_this_machine(pair[0])]


def _is_of_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
