"""The enumerations and flags that information elements carry (TS 29.244, 8.2).

The names are the standard's. Flags that fill several octets have the first octet in their lowest
bits.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple


class RuleKind(IntEnum):
    """Kinds of rules, as in Failed Rule ID (8.2.80)."""

    PDR = 0
    FAR = 1
    QER = 2
    URR = 3
    BAR = 4


class FailedRule(NamedTuple):
    """Which rule could not be stored or applied (8.2.80)."""

    kind: RuleKind
    id: int

    def __str__(self) -> str:
        return f"{self.kind.name} {self.id}"


class Interface(IntEnum):
    """Source and Destination Interface (8.2.2, 8.2.24)."""

    ACCESS = 0
    CORE = 1
    SGI_LAN = 2
    CP_FUNCTION = 3
    LI_FUNCTION = 4
    """As a destination only."""


class Gate(IntEnum):
    """Gate Status of one direction (8.2.7)."""

    OPEN = 0
    CLOSED = 1


class Action(IntFlag):
    """Apply Action (8.2.26); octet 6 in bits 9 to 16."""

    DROP = 1
    FORW = 2
    BUFF = 4
    NOCP = 8
    DUPL = 16
    IPMA = 32
    IPMD = 64
    DFRT = 128
    EDRT = 256
    BDPN = 512
    DDPN = 1024


class Removal(IntEnum):
    """Outer Header Removal Description (8.2.64)."""

    GTPU_UDP_IPV4 = 0
    GTPU_UDP_IPV6 = 1
    UDP_IPV4 = 2
    UDP_IPV6 = 3
    IPV4 = 4
    IPV6 = 5
    GTPU_UDP_IP = 6
    VLAN_S_TAG = 7
    S_TAG_AND_C_TAG = 8


class Creation(IntFlag):
    """Outer Header Creation Description, its first octet (8.2.56)."""

    GTPU_UDP_IPV4 = 0x01
    GTPU_UDP_IPV6 = 0x02
    UDP_IPV4 = 0x04
    UDP_IPV6 = 0x08
    IPV4 = 0x10
    IPV6 = 0x20
    C_TAG = 0x40
    S_TAG = 0x80


class Method(IntFlag):
    """Measurement Method (8.2.40)."""

    DURATION = 1
    VOLUME = 2
    EVENT = 4


class Triggers(IntFlag):
    """Reporting Triggers (8.2.19): octets 5, 6 and 7 from the lowest bits on."""

    PERIO = 1 << 0
    VOLTH = 1 << 1
    TIMTH = 1 << 2
    QUHTI = 1 << 3
    START = 1 << 4
    STOPT = 1 << 5
    DROTH = 1 << 6
    LIUSA = 1 << 7
    VOLQU = 1 << 8
    TIMQU = 1 << 9
    ENVCL = 1 << 10
    MACAR = 1 << 11
    EVETH = 1 << 12
    EVEQU = 1 << 13
    IPMJL = 1 << 14
    QUVTI = 1 << 15
    REEMR = 1 << 16
    UPINT = 1 << 17


class UsageTrigger(IntFlag):
    """Usage Report Trigger (8.2.41): octets 5, 6 and 7 from the lowest bits on."""

    PERIO = 1 << 0
    VOLTH = 1 << 1
    TIMTH = 1 << 2
    QUHTI = 1 << 3
    START = 1 << 4
    STOPT = 1 << 5
    DROTH = 1 << 6
    IMMER = 1 << 7
    VOLQU = 1 << 8
    TIMQU = 1 << 9
    LIUSA = 1 << 10
    TERMR = 1 << 11
    MONIT = 1 << 12
    ENVCL = 1 << 13
    MACAR = 1 << 14
    EVETH = 1 << 15
    EVEQU = 1 << 16
    QUVTI = 1 << 19
    """Of Release 16: sent to control planes that give a Quota Validity Time."""


class Measurement(IntFlag):
    """Measurement Information (8.2.68); MNOP and later of Release 16."""

    MBQE = 1
    INAM = 2
    RADI = 4
    ISTM = 8
    MNOP = 16
    SSPOC = 32
    ASPOC = 64
    CIAM = 128


class UsageInformation(IntFlag):
    """Usage Information (8.2.59)."""

    BEF = 1
    AFT = 2
    UAE = 4
    UBE = 8


class ReportType(IntFlag):
    """Report Type (8.2.21)."""

    DLDR = 1
    USAR = 2
    ERIR = 4
    UPIR = 8


class NodeReportType(IntFlag):
    """Node Report Type (8.2.69)."""

    UPFR = 1


class ModificationFlags(IntFlag):
    """PFCPSMReq-Flags (8.2.31)."""

    DROBU = 1
    SNDEM = 2
    QAURR = 4


class ReportResponseFlags(IntFlag):
    """PFCPSRRsp-Flags (8.2.32)."""

    DROBU = 1


class EstablishmentFlags(IntFlag):
    """PFCPSEReq-Flags (8.2.136 of Release 16)."""

    RESTI = 1


class PdnType(IntEnum):
    """PDN Type (8.2.79)."""

    IPV4 = 1
    IPV6 = 2
    IPV4V6 = 3
    NON_IP = 4
    ETHERNET = 5


class UpFeatures(IntFlag):
    """UP Function Features (8.2.25): octets 5 to 8 from the lowest bits on."""

    BUCP = 1 << 0
    DDND = 1 << 1
    DLBD = 1 << 2
    TRST = 1 << 3
    FTUP = 1 << 4
    PFDM = 1 << 5
    HEEU = 1 << 6
    TREU = 1 << 7
    EMPU = 1 << 8
    PDIU = 1 << 9
    UDBC = 1 << 10
    QUOAC = 1 << 11
    TRACE = 1 << 12
    FRRT = 1 << 13
    PFDE = 1 << 14
    EPFAR = 1 << 15
    DPDRA = 1 << 16
    ADPDP = 1 << 17
    UEIP = 1 << 18
    SSET = 1 << 19
    MNOP = 1 << 20
    MTE = 1 << 21
    BUNDL = 1 << 22
    GCOM = 1 << 23
    MPAS = 1 << 24
    RTTL = 1 << 25
    VTIME = 1 << 26
    NORP = 1 << 27
    IPTV = 1 << 28
    IP6PL = 1 << 29
    TSCU = 1 << 30
    MPTCP = 1 << 31


class CpFeatures(IntFlag):
    """CP Function Features, the first octet (8.2.58)."""

    LOAD = 1
    OVRL = 2
    EPFAR = 4
    SSET = 8
    BUNDL = 16
    MPAS = 32
    ARDR = 64
    UIAUR = 128
