"""Inside a container: tries for as long as /stop is not there to look into every process that appears, and prints what it
got of one that was not the command yet. A process before its exec is the launcher's program, or has more rights."""
import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
libc = ctypes.CDLL(None, use_errno=True)


def capabilities(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["CapEff"], 16) | int(fields["CapPrm"], 16), fields["Seccomp"].strip()


def main():
    own, filtered = capabilities("self")
    known, seen, stop = set(os.listdir("/proc")), 0, sys.argv[1]
    print("ready", flush=True)
    while not os.path.exists(stop):
        for _ in range(200):
            for pid in (p for p in os.listdir("/proc") if p.isdigit() and p not in known):
                known.add(pid)
                seen += 1
                seized = libc.ptrace(PTRACE_SEIZE, int(pid), None, None) == 0
                try:
                    rights, filter_mode = capabilities(pid)
                    more = rights & ~own or filter_mode != filtered
                    if seized and more:
                        print(f"seized {pid} with {rights:x}, seccomp {filter_mode}", flush=True)
                    for fd in os.listdir(f"/proc/{pid}/fd"):
                        target = os.readlink(f"/proc/{pid}/fd/{fd}")
                        if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
                            print(f"pid {pid} has {target} open", flush=True)
                    if more:
                        with open(f"/proc/{pid}/mem", "rb"):
                            print(f"memory of {pid} with {rights:x}", flush=True)
                except OSError:
                    pass
                if seized:
                    libc.ptrace(PTRACE_DETACH, int(pid), None, None)
    print(f"saw {seen}", flush=True)


if __name__ == "__main__":
    main()
