"""What a confined program may not ask of Linux, by number, as a filter for seccomp. Numbers of x86-64 and of arm64."""

import platform
import struct

# Network; processes and their memory; other files' owners, modes and times; namespaces, mounts, keys, the kernel.
DENIED = {
    "x86_64": (
        *(41, 42, 43, 44, 46, 49, 50, 53, 288, 299, 307),  # socket … socketpair, accept4, recvmmsg, sendmmsg
        *(57, 58, 59, 322, 62, 200, 234, 129, 297, 424, 434, 438),  # fork, exec, kill and all its kin, pidfd_*
        *(101, 310, 311, 312, 440, 448),  # ptrace, process_vm_*, kcmp, process_madvise, process_mrelease
        *(90, 91, 92, 93, 94, 260, 268, 452, 132, 235, 261, 280, 133, 259),  # chmod, chown, utime, mknod
        *(188, 189, 190, 197, 198, 199, 463, 466),  # setxattr, removexattr
        *(272, 308, 155, 161, 165, 166, 428, 429, 430, 431, 432, 433, 442, 303, 304),  # unshare, setns, mount, handles
        *(248, 249, 250, 321, 298, 323, 319, 425, 426, 427),  # keys, bpf, perf, userfaultfd, memfd, io_uring
        *(103, 135, 163, 167, 168, 169, 172, 173, 175, 176, 179, 246, 313, 320),  # syslog, swap, reboot, modules, kexec
    ),
    "aarch64": (
        *(198, 199, 200, 201, 202, 203, 206, 211, 242, 243, 269),
        *(221, 281, 129, 130, 131, 138, 240, 424, 434, 438),
        *(117, 270, 271, 272, 440, 448),
        *(52, 53, 54, 55, 452, 88, 33),
        *(5, 6, 7, 14, 15, 16, 463, 466),
        *(97, 268, 41, 51, 40, 39, 428, 429, 430, 431, 432, 433, 442, 264, 265),
        *(217, 218, 219, 280, 241, 282, 279, 425, 426, 427),
        *(116, 92, 89, 224, 225, 142, 105, 106, 60, 104, 273, 294),
    ),
}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3, CLONE_THREAD = 435, 0x10000
X32 = 0x40000000  # x86-64's other set of numbers
EPERM, ENOSYS = 1, 38

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_AT_NUMBER, _AT_ARCH, _AT_ARGUMENT = 0, 4, 16  # in struct seccomp_data


def filter_program() -> bytes | None:
    """As BPF; None for a processor whose numbers are not known here. Threads are allowed, other processes are not."""
    machine = platform.machine()
    if machine not in DENIED:
        return None
    lines = [(_LOAD, 0, 0, _AT_ARCH), (_EQUAL, 1, 0, AUDIT_ARCH[machine]), (_RETURN, 0, 0, _KILL)]
    lines.append((_LOAD, 0, 0, _AT_NUMBER))
    if machine == "x86_64":
        lines += [(_AT_LEAST, 0, 1, X32), (_RETURN, 0, 0, _ERROR | EPERM)]
    for number in DENIED[machine]:
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | EPERM)]
    lines += [(_EQUAL, 0, 1, CLONE3), (_RETURN, 0, 0, _ERROR | ENOSYS)]  # whose flags no filter can read
    lines += [(_EQUAL, 0, 3, CLONE[machine]), (_LOAD, 0, 0, _AT_ARGUMENT)]
    lines += [(_ANY_BIT, 1, 0, CLONE_THREAD), (_RETURN, 0, 0, _ERROR | EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
