// relay everything from loopback to the sink named in config/relay_to_sink (host:port)
exports.register = function () {
  const [host, port] = this.config.get('relay_to_sink').trim().split(':');
  this.mx = { priority: 0, exchange: host, port: Number(port) };
};
exports.hook_connect = (next, connection) => {
  connection.relaying = true;
  next();
};
exports.hook_rcpt = (next) => {
  next(OK);
};
exports.hook_get_mx = function (next) {
  next(OK, { ...this.mx });
};
