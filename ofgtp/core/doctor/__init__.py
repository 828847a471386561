"""What `ofgtp doctor` judges: facts of a host in, a finding each out. Nothing is read here."""
