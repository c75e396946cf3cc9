"""A client that stops halfway through the TCP handshake and completes it on request.

On loopback a handshake is complete before connect() returns, so this client implements TCP itself,
on a tun device of its network namespace. usage: far.py PORT; it prints "halfway", reads a line,
continues, and prints the first line of the answer, "reset" or "nothing".
"""

import fcntl
import os
import select
import struct
import subprocess
import sys

HERE, THERE = bytes([10, 200, 0, 2]), bytes([10, 200, 0, 1])
FIN, SYN, RST, ACK = 1, 2, 4, 16
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(port, seq, ack, flags, payload=b""):
    def tcp(check):
        head = struct.pack("!HHIIBBHHH", 4321, port, seq, ack, 5 << 4, flags, 65535, check, 0)
        return head + payload

    def ip(check):
        head = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(payload), 1, 0, 64, 6, check)
        return head + HERE + THERE

    pseudo = HERE + THERE + struct.pack("!BBH", 0, 6, 20 + len(payload))
    return ip(checksum(ip(0))) + tcp(checksum(pseudo + tcp(0)))


def receive(device):
    """The number, flags and payload of the next TCP packet; None after 5 s without one."""
    while select.select([device], [], [], 5)[0]:
        data = os.read(device, 65536)
        if data[0] >> 4 != 4 or data[9] != 6 or data[16:20] != HERE:
            continue
        tcp = data[(data[0] & 15) * 4:]
        return struct.unpack("!I", tcp[4:8])[0], tcp[13], tcp[(tcp[12] >> 4) * 4:]
    return None


def main(port):
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"far", IFF_TUN | IFF_NO_PI))
    for words in "addr add 10.200.0.1/24 dev far", "link set far up":
        subprocess.run(["ip", *words.split()], check=True)

    os.write(device, packet(port, 1000, 0, SYN))
    number, flags, _ = receive(device)
    assert flags == SYN | ACK, flags
    print("halfway", flush=True)
    sys.stdin.readline()
    os.write(device, packet(port, 1001, number + 1, ACK))
    os.write(device, packet(port, 1001, number + 1, ACK, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    while got := receive(device):
        if got[1] & RST:
            print("reset")
            return
        if got[2]:
            print(got[2].split(b"\r\n")[0].decode())
            return
    print("nothing")


main(int(sys.argv[1]))
