# SPDX-License-Identifier: Apache-2.0
"""Small servers that nginx cannot stand in for; each names itself in its answers.

    servers.py echo   --name master --port 7     TCP: greets with its name, then echoes lines
    servers.py udp    --name master --port 53    UDP: answers "<name> <payload>"
    servers.py upload --name master --port 8080  TCP: reads until EOF, answers "<name> <bytes> <sha256>"
"""

import argparse
import hashlib
import socket
import threading


def echo(connection, name):
    with connection:
        connection.sendall(f"{name}\n".encode())
        while data := connection.recv(65536):
            connection.sendall(data)


def upload(connection, name):
    digest, count = hashlib.sha256(), 0
    with connection:
        while data := connection.recv(65536):
            digest.update(data)
            count += len(data)
        connection.sendall(f"{name} {count} {digest.hexdigest()}\n".encode())


def serve_tcp(handler, name, port):
    with socket.create_server(("::", port), family=socket.AF_INET6, backlog=256, dualstack_ipv6=True) as listener:
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=guard, args=(handler, connection, name), daemon=True).start()


def guard(handler, connection, name):
    try:
        handler(connection, name)
    except OSError:
        pass  # the client went away


def serve_udp(name, port):
    """Answers from the address that was asked, which a socket bound to any address would not do for a VIP."""
    sockets = []
    for family, level, option in ((socket.AF_INET, socket.IPPROTO_IP, 8),  # IP_PKTINFO
                                  (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.setsockopt(level, option, 1)
        udp.bind(("", port))
        sockets.append(udp)
    threads = [threading.Thread(target=answer_udp, args=(s, name), daemon=True) for s in sockets]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        thread.join()


def answer_udp(udp, name):
    while True:
        data, ancillary, _, client = udp.recvmsg(65536, 256)
        reply_ancillary = []
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_IP and kind == 8:
                # struct in_pktinfo: interface, local address (used as source), destination address
                reply_ancillary = [(level, kind, bytes(4) + value[8:12] + bytes(4))]
            elif level == socket.IPPROTO_IPV6:
                reply_ancillary = [(level, socket.IPV6_PKTINFO, value[:16] + bytes(4))]
        udp.sendmsg([f"{name} ".encode() + data], reply_ancillary, 0, client)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["echo", "udp", "upload"])
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    if options.kind == "udp":
        serve_udp(options.name, options.port)
    else:
        serve_tcp(echo if options.kind == "echo" else upload, options.name, options.port)


if __name__ == "__main__":
    main()
