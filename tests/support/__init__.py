"""What the tests stand on: servers, accounts on them, a proxy that makes trouble, and a canary for secrets."""
