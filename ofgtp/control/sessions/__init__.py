"""Sessions of all gateways: changed in the store and in the switch, or in neither."""
