"""What the HTTP clients and the server middleware share.

| file | content |
|---|---|
| `structured` | structured fields (RFC 9651): lists and dictionaries |
| `dates` | dates in headers |
| `server_limits` | what a server's answer says about its limits: for how long to send nothing |
| `budgets` | which budget a request takes from |
| `outgoing` | a client's requests: turns, pauses, retries |
| `incoming` | a server's requests: admitted, denied or not decided |
"""
