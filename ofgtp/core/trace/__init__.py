"""What `ofgtp trace` tells: a packet in, a story of its way through the switch out.

A packet becomes questions to the switch (`probe`). Its answers are read (`oftrace`) and told step
by step (`explain`), with what becomes of it and what helps (`verdict`). Facts from elsewhere that
bear on it stand beside (`symptoms`). Nothing is asked or read here.
"""
