// Signs as partners do in the profile `portcullis`: docs/how-to/sign-requests.md.

import crypto from 'k6/crypto';

export function nonce() {
  const bytes = new Uint8Array(crypto.randomBytes(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function now() {
  return Math.floor(Date.now() / 1000);
}

// The headers of one request. `at` and `once` may be chosen, to sign again or to sign wrongly.
export function sign(partner, method, path, body, { at = now(), once = nonce() } = {}) {
  const hash = crypto.sha256(body, 'hex');
  const lines = ['v1', at, partner.keyId, once, method, path, hash];
  return {
    'x-key-id': partner.keyId,
    'x-timestamp': String(at),
    'x-request-id': once,
    'x-signature': `v1=${crypto.hmac('sha256', partner.secret, lines.join('\n'), 'hex')}`,
  };
}
