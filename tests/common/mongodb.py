"""One member of a MongoDB replica set, as far as it is told to be: the wire protocol, logins and the
few commands that are asked for, with the BSON of MongoDB's own driver. What it claims comes from a file
that is read again for every command. MongoDB's driver takes it for a server (tests/mongodb.rs)."""

import base64, datetime, hashlib, hmac, json, os, socketserver, ssl, struct, sys, time
import bson
from bson import Binary, Int64, ObjectId, Timestamp

states, port, certificate, key, ca = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
NAME = "127.0.0.1:%d" % port
USERS = {"pointsman": ("pencil & paper", ["SCRAM-SHA-1", "SCRAM-SHA-256"]), "veteran": ("pencil", ["SCRAM-SHA-1"])}
ROUNDS = {"SCRAM-SHA-1": 10000, "SCRAM-SHA-256": 15000}
HASH = {"SCRAM-SHA-1": hashlib.sha1, "SCRAM-SHA-256": hashlib.sha256}

class Refused(Exception):
    def __init__(self, code, name, words):
        self.code, self.name, self.words = code, name, words

def told():
    with open(states) as file:
        return json.load(file)

def me(state):
    return next(member for member in state["members"] if member["name"] == NAME)

def hello(state, command):
    mine = me(state)
    role = mine["role"]
    answer = {"topologyVersion": {"processId": ObjectId(), "counter": Int64(6)}}
    shown = [member for member in state["members"] if not member.get("hidden")]
    answer["hosts"] = [member["name"] for member in shown if member["role"] != "ARBITER" and not member.get("passive")]
    answer["passives"] = [member["name"] for member in shown if member.get("passive")]
    answer["arbiters"] = [member["name"] for member in shown if member["role"] == "ARBITER"]
    answer.update(setName=state.get("set", "rs0"), setVersion=1)
    answer["isWritablePrimary"] = answer["ismaster"] = role == "PRIMARY"
    answer["secondary"] = role == "SECONDARY"
    if mine.get("primary"):
        answer["primary"] = mine["primary"]
    for word in ("hidden", "passive"):
        if mine.get(word):
            answer[word] = True
    if role == "ARBITER":
        answer["arbiterOnly"] = True
    answer["me"] = NAME
    if role == "PRIMARY":
        answer["electionId"] = ObjectId("7fffffff%016x" % mine["term"])
    if role != "ARBITER":
        at = {"ts": Timestamp(mine["log"], 1), "t": Int64(mine.get("log_term", mine["term"]))}
        by_majority = {"ts": Timestamp(mine.get("majority", mine["log"]), 1), "t": at["t"]}
        when = datetime.datetime.utcfromtimestamp(mine["log"])
        answer["lastWrite"] = {"opTime": at, "lastWriteDate": when, "majorityOpTime": by_majority, "majorityWriteDate": when}
    answer.update(maxBsonObjectSize=16777216, maxMessageSizeBytes=48000000, maxWriteBatchSize=100000,
                  localTime=datetime.datetime.utcnow(), logicalSessionTimeoutMinutes=30, connectionId=7,
                  minWireVersion=0, maxWireVersion=21, readOnly=False, ok=1.0)
    if "saslSupportedMechs" in command:
        user = command["saslSupportedMechs"].split(".", 1)[1]
        if user in USERS:
            answer["saslSupportedMechs"] = USERS[user][1]
    return answer

def status(state, _):
    mine = me(state)
    members = [{"_id": n, "name": member["name"], "health": 1.0, "stateStr": member["role"],
                "optime": {"ts": Timestamp(member.get("log", 0), 1), "t": Int64(member["term"])}}
               for n, member in enumerate(state["members"])]
    return {"set": "rs0", "date": datetime.datetime.utcnow(), "myState": 1, "term": Int64(mine["term"]),
            "heartbeatIntervalMillis": Int64(2000), "majorityVoteCount": 2, "members": members, "ok": 1.0}

def config(state, _):
    members = [{"_id": n, "host": member["name"], "arbiterOnly": member["role"] == "ARBITER",
                "votes": member.get("votes", 1), "priority": 0 if member.get("passive") else 1}
               for n, member in enumerate(state["members"])]
    return {"config": {"_id": "rs0", "version": 1, "term": 5, "members": members, "protocolVersion": Int64(1)}, "ok": 1.0}

def find(state, command):
    mine = me(state)
    assert command["readConcern"] == {"level": "linearizable"} and command["$db"] == "config", command
    if mine["role"] != "PRIMARY":
        raise Refused(10107, "NotWritablePrimary", "cannot satisfy linearizable read concern on non-primary node")
    if mine.get("majority", mine["log"]) < mine["log"]:
        time.sleep(command["maxTimeMS"] / 1000)
        raise Refused(50, "MaxTimeMSExpired", "operation exceeded time limit")
    return {"cursor": {"firstBatch": [], "id": Int64(0), "ns": "config.pointsman"}, "ok": 1.0}

class Scram:
    """The server's side, by RFC 5802."""
    def __init__(self, mechanism, first):
        self.mechanism, self.hash = mechanism, HASH[mechanism]
        assert first.startswith("n,,"), first
        self.bare = first[3:]
        fields = dict(field.split("=", 1) for field in self.bare.split(","))
        user = fields["n"].replace("=2C", ",").replace("=3D", "=")
        if user not in USERS or mechanism not in USERS[user][1]:
            raise Refused(18, "AuthenticationFailed", "Authentication failed.")
        password = USERS[user][0]
        if mechanism == "SCRAM-SHA-1":
            password = hashlib.md5(("%s:mongo:%s" % (user, password)).encode()).hexdigest()
        salt = hashlib.sha256(user.encode()).digest()[:16 if mechanism == "SCRAM-SHA-1" else 28]
        self.salted = hashlib.pbkdf2_hmac(self.hash().name, password.encode(), salt, ROUNDS[mechanism])
        self.nonce = fields["r"] + base64.b64encode(os.urandom(18)).decode()
        self.first = "r=%s,s=%s,i=%d" % (self.nonce, base64.b64encode(salt).decode(), ROUNDS[mechanism])

    def mac(self, key, text):
        return hmac.new(key, text.encode(), self.hash).digest()

    def last(self, said):
        without, proof = said.rsplit(",p=", 1)
        exchange = ",".join([self.bare, self.first, without])
        client_key = self.mac(self.salted, "Client Key")
        signature = self.mac(self.hash(client_key).digest(), exchange)
        wanted = bytes(a ^ b for a, b in zip(client_key, signature))
        if without != "c=biws,r=" + self.nonce or base64.b64decode(proof) != wanted:
            raise Refused(18, "AuthenticationFailed", "Authentication failed.")
        answer = self.mac(self.mac(self.salted, "Server Key"), exchange)
        if told().get("impostor"):
            answer = bytes(len(answer))
        return "v=" + base64.b64encode(answer).decode()

class Member(socketserver.BaseRequestHandler):
    scram, known, short = None, False, False

    def read(self, length):
        data = b""
        while len(data) < length:
            more = self.request.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def handle(self):
        try:
            while True:
                length, asked, _, code = struct.unpack("<iiii", self.read(16))
                body = self.read(length - 16)
                if code == 2013:
                    assert body[4] == 0, "one section of kind 0"
                    answer = bson.encode(self.answer(bson.decode(body[5:])))
                    reply, code = struct.pack("<IB", 0, 0) + answer, 2013
                else:
                    # How older drivers begin: OP_QUERY, answered with OP_REPLY.
                    command = bson.decode(body[body.index(b"\0", 4) + 9:])
                    reply, code = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(self.answer(command)), 1
                self.request.sendall(struct.pack("<iiii", len(reply) + 16, 1, asked, code) + reply)
        except (EOFError, ConnectionError, ssl.SSLError):
            pass

    def answer(self, command):
        state, name = told(), next(iter(command))
        try:
            if name in ("hello", "ismaster", "isMaster"):
                return hello(state, command)
            if name == "ping":
                return {"ok": 1.0}
            if name in ("saslStart", "saslContinue", "authenticate"):
                return self.log_in(name, command)
            if name == "endSessions":
                return {"ok": 1.0}
            if name not in COMMANDS:
                raise Refused(59, "CommandNotFound", "no such command: '%s'" % name)
            if not self.known:
                raise Refused(13, "Unauthorized", "command %s requires authentication" % name)
            return COMMANDS[name](state, command)
        except Refused as why:
            return {"ok": 0.0, "errmsg": why.words, "code": why.code, "codeName": why.name}

    def log_in(self, name, command):
        # An arbiter has no users, and who is being brought up to date not all.
        if me(told())["role"] not in ("PRIMARY", "SECONDARY"):
            raise Refused(18, "AuthenticationFailed", "Authentication failed.")
        if name == "authenticate":
            peer = self.request.getpeercert() if isinstance(self.request, ssl.SSLSocket) else None
            if not peer or command["mechanism"] != "MONGODB-X509" or command["$db"] != "$external":
                raise Refused(18, "AuthenticationFailed", "No verified subject name available from client")
            self.known = True
            return {"dbname": "$external", "user": str(peer["subject"]), "ok": 1.0}
        if command["$db"] != "admin":
            raise Refused(18, "AuthenticationFailed", "Authentication failed.")
        said = bytes(command["payload"]).decode()
        if name == "saslStart":
            self.scram, self.short = Scram(command["mechanism"], said), command.get("options", {}).get("skipEmptyExchange")
            answer, done = self.scram.first, False
        elif said:
            answer, self.known = self.scram.last(said), True
            # Servers before 4.4 know nothing of the short form.
            done = bool(self.short) and not told().get("long_login")
        else:
            answer, done = "", True
        return {"conversationId": 1, "done": done, "payload": Binary(answer.encode()), "ok": 1.0}

COMMANDS = {"replSetGetStatus": status, "replSetGetConfig": config, "find": find}

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def get_request(self):
        connection, peer = super().get_request()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            if ca:
                context.load_verify_locations(ca)
                context.verify_mode = ssl.CERT_REQUIRED
            connection.settimeout(10)
            try:
                connection = context.wrap_socket(connection, server_side=True)
            except (ssl.SSLError, OSError):
                raise OSError("no TLS")
            connection.settimeout(None)
        return connection, peer

Server(("127.0.0.1", port), Member).serve_forever()
