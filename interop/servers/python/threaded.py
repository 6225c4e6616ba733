"""An echo server on the threaded server of python-engineio, as it comes: nothing is set, and so it throws away requests of
more than 16 packets. Reports only where it listens.
"""

import json

import engineio
from werkzeug.serving import make_server

server = engineio.Server(async_mode="threading")


@server.on("message")
def message(sid, data):
    server.send(sid, data)


http = make_server("127.0.0.1", 0, engineio.WSGIApp(server), threaded=True)
print(json.dumps({"event": "listening", "port": http.server_port}), flush=True)
http.serve_forever()
