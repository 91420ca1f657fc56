/**
 * TLS over a migration's socket. Who connects is the client, who accepts the server. Each checks the other's certificate
 * itself when the handshake is over, and says in a frame why it refuses one: a TLS alert reaches the other side's user
 * as a number at best, or not at all.
 */
import { isIP, type Socket } from 'node:net';
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  createServer,
  type PeerCertificate,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import { errorMessage, GodwitError } from '../error.ts';
import { pskKeys, type TlsEndpoint, type TlsSettings, x509Context } from './tls-credentials.ts';

/** How long the other side may take for the handshake. */
const HANDSHAKE_MS = 10_000;

/** OpenSSL's names of what can be wrong with a certificate, in words. */
const REASONS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has expired',
  CERT_NOT_YET_VALID: 'it is not valid yet',
  CERT_REVOKED: 'it was revoked',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'it was signed by an authority that is not in ca-cert.pem',
  UNABLE_TO_GET_ISSUER_CERT: 'it was signed by an authority that is not in ca-cert.pem',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'it was signed by an authority that is not in ca-cert.pem',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'it was signed by an authority that is not in ca-cert.pem',
  CERT_SIGNATURE_FAILURE: 'its signature is wrong',
  INVALID_PURPOSE: 'it was not made for this purpose',
  INVALID_CA: 'its authority may not sign certificates',
};

/** A socket whose handshake is over. */
export interface Secured {
  readonly socket: TLSSocket;
  /** Why the other side is not who it must be: it is to be told, and hears nothing else. */
  readonly refusal?: string;
}

/**
 * Checks that these credentials can be used at this end.
 * @param where the address, for errors.
 * @throws GodwitError kind "usage", or "file" for a missing or damaged file.
 */
export function checkCredentials({ credentials }: TlsSettings, role: TlsEndpoint, where: string): void {
  const { id, endpoint } = credentials;
  if (endpoint !== role) {
    throw GodwitError.unexpected(
      'usage',
      `${where}: tls-creds '${id}'`,
      `endpoint=${role}`,
      `endpoint=${endpoint}`,
    );
  }
  context({ credentials });
}

function context({ credentials }: TlsSettings): SecureContextOptions {
  if (credentials.type === 'psk') {
    pskKeys(credentials);
    return {};
  }
  const options = x509Context(credentials);
  try {
    createSecureContext(options);
  } catch (error) {
    const { id, dir } = credentials;
    throw new GodwitError('file', `tls-creds '${id}': a file in ${dir} is no good: ${errorMessage(error)}`);
  }
  return options;
}

/**
 * The client's handshake over a connected socket.
 * @param host in the address; '' for none.
 * @throws GodwitError kind "transport" or "usage"; then the socket is destroyed.
 */
export function secureClient(
  raw: Socket,
  settings: TlsSettings,
  host: string,
  where: string,
): Promise<Secured> {
  const { credentials } = settings;
  const hostname = settings.hostname || host;
  if (credentials.type === 'x509' && hostname === '') {
    raw.destroy();
    const why = `${where} names no host that the server's certificate could be checked for`;
    return Promise.reject(new GodwitError('usage', `${why}: set tls-hostname`));
  }
  return handshake(raw, where, (done, fail) => {
    const psk = credentials.type === 'psk' ? pskKeys(credentials).get(credentials.username) : undefined;
    if (credentials.type === 'psk' && psk === undefined) {
      throw new GodwitError(
        'file',
        `tls-creds '${credentials.id}': keys.psk has no user '${credentials.username}'`,
      );
    }
    const socket = connect({
      socket: raw,
      rejectUnauthorized: false,
      // Judged below, with all the rest.
      checkServerIdentity: () => undefined,
      ...(hostname === '' || isIP(hostname) !== 0 ? {} : { servername: hostname }),
      ...(psk === undefined
        ? context(settings)
        : {
            ciphers: PSK_CIPHERS,
            maxVersion: 'TLSv1.2',
            pskCallback: () => ({ psk, identity: (credentials as { username: string }).username }),
          }),
    });
    socket.once('error', fail);
    socket.once('secureConnect', () => {
      socket.off('error', fail);
      const refusal = psk === undefined ? serverRefusal(socket, hostname) : undefined;
      done({ socket, ...(refusal === undefined ? {} : { refusal }) });
    });
    return socket;
  });
}

/** The server's handshake over an accepted socket. @throws GodwitError kind "transport". */
export function secureServer(raw: Socket, settings: TlsSettings, where: string): Promise<Secured> {
  const { credentials } = settings;
  return handshake(raw, where, (done, fail) => {
    const keys = credentials.type === 'psk' ? pskKeys(credentials) : undefined;
    const server = createServer({
      requestCert: credentials.type === 'x509' && credentials.verifyPeer,
      rejectUnauthorized: false,
      ...(keys === undefined
        ? context(settings)
        : {
            ciphers: PSK_CIPHERS,
            maxVersion: 'TLSv1.2',
            pskCallback: (_socket: TLSSocket, identity: string) => keys.get(identity) ?? null,
          }),
    });
    server.once('tlsClientError', fail);
    server.once('secureConnection', (socket) => {
      const refusal =
        credentials.type === 'x509' && credentials.verifyPeer ? clientRefusal(socket) : undefined;
      done({ socket, ...(refusal === undefined ? {} : { refusal }) });
    });
    server.emit('connection', raw);
    return raw;
  });
}

const PSK_CIPHERS = 'ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:PSK-AES256-GCM-SHA384:PSK';

function handshake(
  raw: Socket,
  where: string,
  start: (done: (secured: Secured) => void, fail: (error: Error) => void) => Socket,
): Promise<Secured> {
  return new Promise((resolve, reject) => {
    const end = (error: Error): void => {
      clearTimeout(timer);
      raw.off('close', closed);
      raw.destroy();
      reject(
        error instanceof GodwitError
          ? error
          : new GodwitError('transport', `${where}: the TLS handshake failed: ${reasonIn(error)}`, {}, error),
      );
    };
    const closed = (): void => end(new Error('the other side ended it'));
    const timer = setTimeout(() => end(new Error(`it took more than ${HANDSHAKE_MS} ms`)), HANDSHAKE_MS);
    raw.once('close', closed);
    raw.on('error', end);
    try {
      start((secured) => {
        clearTimeout(timer);
        raw.off('close', closed);
        raw.off('error', end);
        resolve(secured);
      }, end);
    } catch (error) {
      end(error as Error);
    }
  });
}

function serverRefusal(socket: TLSSocket, hostname: string): string | undefined {
  if (!socket.authorized) return refusalOf('server', socket);
  const mismatch = checkServerIdentity(hostname, socket.getPeerCertificate());
  if (mismatch === undefined) return undefined;
  const names = namesOf(socket.getPeerCertificate());
  return `the server's certificate is refused: expected one for ${hostname}, got one for ${names}`;
}

function clientRefusal(socket: TLSSocket): string | undefined {
  if (socket.authorized) return undefined;
  if (socket.getPeerX509Certificate() === undefined) {
    return 'the client has shown no certificate, and tls-creds has verify-peer=on';
  }
  return refusalOf('client', socket);
}

function refusalOf(whose: TlsEndpoint, socket: TLSSocket): string {
  const code = String(socket.authorizationError);
  const whom = namesOf(socket.getPeerCertificate());
  return `the ${whose}'s certificate (${whom}) is refused: ${REASONS[code] ?? code}`;
}

function namesOf(certificate: PeerCertificate): string {
  const alternatives = (certificate.subjectaltname ?? '').replaceAll(/(DNS|IP Address):/g, '');
  const common = certificate.subject?.CN;
  return alternatives || (Array.isArray(common) ? common.join(', ') : common) || 'nobody';
}

/** OpenSSL's errors are long: "…:error:0A000086:SSL routines:fn:certificate verify failed:file.c:1889:". */
function reasonIn(error: Error): string {
  const { reason, code } = error as Error & { reason?: string; code?: string };
  return (
    (reason ?? (code === 'ECONNRESET' ? 'the other side ended it' : errorMessage(error))).split('\n')[0] ?? ''
  );
}
