import { expect, it } from 'vitest';
import { checkClientCertificate } from '../../../shared/access/client-certificate.ts';
import { readDetails, toActive } from '../../../shared/admin/certificates.ts';
import { type CertificateOptions, createCertificate, createClient, createRsaKeys } from '../../certificates.ts';

const toEntry = ({ pem }: { readonly pem: string }) => toActive(readDetails({ content: pem }));
const check = (pem: string | undefined, ...active: readonly { readonly pem: string }[]) =>
  checkClientCertificate(pem, active.map(toEntry));
const REFUSED = expect.objectContaining({ code: 'certificate_not_authorized' });

it('a certificate passes that one of the active authorities has signed, whatever its kind of key', async () => {
  const authority = await createCertificate();
  const rsa = await createCertificate({ keys: await createRsaKeys(2048) });
  for (const signer of [authority, rsa]) {
    for (const keys of [undefined, await createRsaKeys(2048)]) {
      const { pem } = await createClient(signer, keys && { keys });
      expect(() => check(pem, authority, rsa)).not.toThrow();
      expect(() => check(pem, signer === rsa ? authority : rsa)).toThrow(REFUSED);
    }
  }
});

it('an active certificate of a client passes itself, and none that its key has signed', async () => {
  const client = await createCertificate({ isAuthority: false });
  expect(() => check(client.pem, client)).not.toThrow();
  const { pem } = await createClient(client);
  expect(() => check(pem, client)).toThrow(REFUSED);
});

it('a certificate with the name of an authority that another key has signed is refused', async () => {
  const authority = await createCertificate({ subject: 'CN=Acme' });
  const impostor = await createCertificate({ subject: 'CN=Acme' });
  const { pem } = await createClient(impostor, { issuer: 'CN=Acme' });
  expect(() => check(pem, authority)).toThrow(REFUSED);
  expect(() => check(impostor.pem, authority)).toThrow(REFUSED);
});

it('an authority that has expired passes nothing', async () => {
  const authority = await createCertificate({ ends: -1_000 });
  const other = await createCertificate();
  const { pem } = await createClient(authority);
  expect(() => check(pem, authority, other)).toThrow(REFUSED);
});

it.each<[string, CertificateOptions]>([
  ['has expired', { ends: -1_000 }],
  ['is not valid yet', { begins: 60_000 }],
])('a client certificate that %s is refused', async (_, options) => {
  const authority = await createCertificate();
  const { pem } = await createClient(authority, options);
  expect(() => check(pem, authority)).toThrow('not valid now');
});

it.each([undefined, '', 'text', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'])(
  'what is no certificate (%j) is refused',
  async (pem) => {
    expect(() => checkClientCertificate(pem, [])).toThrow('without a client certificate');
  },
);
