"""What can go wrong between us and an HTTP/1.1 server.

    HTTPClientError
    |- ConnectError          no connection: DNS, refused, TLS not trusted, proxy refused     nothing was sent
    |  `- ConnectTimeout     not connected (TLS and proxy included) within `connect_s`       nothing was sent
    |- PoolTimeout           `max_connections_per_origin` busy for `pool_s`                  nothing was sent
    |- WriteTimeout          the peer took none of the request for `first_byte_s`
    |- FirstByteTimeout      the request is out, no response head within `first_byte_s`
    |- ReadTimeout           a reader waited `between_s` for more of the body
    |- TotalTimeout          `total_s` from the call of `request` to the last byte
    |- ConnectionCut         closed before the response was whole; `before_response`: not even its head
    |- ProtocolError         not HTTP/1.1: malformed, head too large, two framings, bad chunk
    `- BodyTooLarge          `Response.read(limit)`: above the limit

Errors of the operating system, of `ssl` and of the parser become one of these where they enter.
A request that cannot be written (bad header, bad URL) is the caller's bug: ValueError.
"""


class HTTPClientError(Exception):
    """Any failure of an exchange. The message names the peer, never a header or a body."""


class ConnectError(HTTPClientError):
    pass


class ConnectTimeout(ConnectError):
    pass


class PoolTimeout(HTTPClientError):
    pass


class WriteTimeout(HTTPClientError):
    pass


class FirstByteTimeout(HTTPClientError):
    pass


class ReadTimeout(HTTPClientError):
    pass


class TotalTimeout(HTTPClientError):
    pass


class ConnectionCut(HTTPClientError):
    def __init__(self, message: str, *, before_response: bool) -> None:
        super().__init__(message)
        self.before_response = before_response


class ProtocolError(HTTPClientError):
    pass


class BodyTooLarge(HTTPClientError):
    pass
