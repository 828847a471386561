"""The pure core: sessions in, OpenFlow rules out. No Ryu, no sockets, no clock, no files."""
