import { text } from 'node:stream/consumers';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type CertificateOptions,
  createCertificate,
  createClient,
  createKeys,
  createRsaKeys,
  type TestCertificate,
} from '../certificates.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let organization: OpenAI['admin']['organization'];
beforeAll(async () => {
  // The authorizer caches nothing, so that changes take effect at once.
  const environment = { DOMAIN_TRUSTSTORE: 's3://my-ca/clients.pem', KEY_TTL_SECONDS: '0' };
  service = await startService({ environment });
  organization = createAdmin('sk-admin-local').admin.organization;
});
afterAll(() => service[Symbol.asyncDispose]());

const createAdmin = (adminAPIKey: string) => new OpenAI({ baseURL: service.cloud.url, adminAPIKey, maxRetries: 0 });

/** Uploads a certificate. */
async function upload({ pem }: TestCertificate, name?: string): Promise<string> {
  const { id } = await organization.certificates.create({ certificate: pem, ...(name === undefined ? {} : { name }) });
  return id;
}

/** Creates a project, and a key of it. */
async function createProject(name: string): Promise<{ id: string; key: string }> {
  const { id } = await organization.projects.create({ name });
  const account = await organization.projects.serviceAccounts.create(id, { name });
  return { id, key: account.api_key?.value ?? '' };
}

/** Sends an event to a packaged function, with a context that the packaged authorizer returned, as API Gateway does. */
async function call(key: string, pem?: string, name = 'chat', route = 'GET /v1/models'): Promise<string> {
  const invoke = async (functionName: string, event: object) => {
    const { body } = await service.cloud.invoke(`lambent-local-${functionName}`, JSON.stringify(event));
    return text(body);
  };
  const [httpMethod = '', path = ''] = route.split(' ');
  const headers = { authorization: `Bearer ${key}` };
  const { context: authorizer } = JSON.parse(
    await invoke('authorize', { type: 'REQUEST', resource: path, headers, methodArn: 'arn:aws:execute-api:::x' }),
  );
  const clientCert = pem === undefined ? null : { clientCertPem: pem, issuerDN: 'CN=Test' };
  const requestContext = { requestId: 'r1', authorizer, identity: { sourceIp: '127.0.0.1', clientCert } };
  const pathParameters = { id: 'none', path: path.replace('/v1/organization/', '') };
  const resource = name === 'admin' ? '/v1/organization/{path+}' : path;
  return invoke(name, { httpMethod, resource, path, headers, pathParameters, body: '{}', requestContext });
}

const REFUSED = '"code":"certificate_not_authorized"';
const PASSED = '"object":"list"';

describe('certificates', () => {
  it('are uploaded, read, renamed, listed and deleted', async () => {
    const { certificates } = organization;
    const authority = await createCertificate();
    const created = await certificates.create({ certificate: authority.pem, name: 'Acme' });
    const now = Date.now() / 1000;
    expect(created).toEqual({
      id: expect.stringMatching(/^cert_/),
      object: 'certificate',
      name: 'Acme',
      created_at: expect.closeTo(now, -2),
      certificate_details: { valid_at: expect.closeTo(now - 3_600, -2), expires_at: expect.closeTo(now + 3_600, -2) },
    });
    expect(await certificates.retrieve(created.id)).toEqual(created);
    const { certificate_details: details } = await certificates.retrieve(created.id, { include: ['content'] });
    expect(details.content?.trim()).toBe(authority.pem);
    expect(await certificates.update(created.id, { name: 'Acme 2' })).toEqual({ ...created, name: 'Acme 2' });
    const second = await upload(await createCertificate());
    const ids: string[] = [];
    for await (const each of certificates.list({ limit: 1, order: 'desc' })) {
      expect(each).toMatchObject({ object: 'organization.certificate', active: false });
      ids.push(each.id);
    }
    expect(ids).toEqual([second, created.id]);
    for (const id of ids) expect(await certificates.delete(id)).toEqual({ id, object: 'certificate.deleted' });
    await expect(certificates.retrieve(second)).rejects.toMatchObject({ status: 404, code: 'not_found' });
  });

  it('are activated and deactivated at once, for the organization and for a project, and deleted once inactive', async () => {
    const { certificates, projects } = organization;
    const ids = [await upload(await createCertificate(), 'a'), await upload(await createCertificate(), 'b')];
    const [first = ''] = ids;
    const { id: project } = await createProject('levels');
    const levels = [
      { name: 'organization.certificate', at: certificates, args: [] },
      { name: 'organization.project.certificate', at: projects.certificates, args: [project] },
    ] as const;
    for (const { name, at, args } of levels) {
      const change = async (act: 'activate' | 'deactivate', certificate_ids: string[]) =>
        'create' in at ? at[act]({ certificate_ids }) : at[act](project, { certificate_ids });
      const listActive = async () =>
        ('create' in at ? await at.list() : await at.list(project)).data
          .filter((each) => each.active)
          .map(({ id }) => id);
      // Twice the same, and with an id twice.
      for (const list of [ids, [...ids, first]]) {
        const { data, object } = await change('activate', list);
        expect(data).toEqual(ids.map((id) => expect.objectContaining({ id, object: name, active: true })));
        expect(object).toBe(`${name}.activation`);
      }
      expect(await listActive()).toEqual(ids);
      await expect(certificates.delete(first)).rejects.toMatchObject({
        status: 400,
        code: 'invalid_value',
        message: expect.stringContaining(args.length === 0 ? 'the organization' : `the project ${project}`),
      });
      await expect(change('deactivate', [first, 'cert_none'])).rejects.toMatchObject({ status: 404 });
      expect(await listActive()).toEqual(ids);
      const { data } = await change('deactivate', [first]);
      expect(data).toEqual([expect.objectContaining({ id: first, active: false })]);
      expect(await listActive()).toEqual(ids.slice(1));
      await change('deactivate', ids);
      expect(await listActive()).toEqual([]);
    }
    for (const id of ids) await certificates.delete(id);
  });

  it('are refused if they are expired, several, malformed, uploaded already or of a weak key', async () => {
    const { certificates } = organization;
    const good = await createCertificate();
    const id = await upload(good);
    const refused: [string, string][] = [
      [good.pem, `uploaded as ${id}`],
      [(await createCertificate({ ends: -1_000 })).pem, 'it has expired'],
      [`${good.pem}\n${good.pem}`, 'exactly one certificate'],
      [`${good.pem}\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----`, 'exactly one certificate'],
      ['text', 'exactly one certificate'],
      ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', 'not an X.509 certificate'],
      [(await createCertificate({ keys: await createRsaKeys(1024) })).pem, '2,048 to 4,096 bits'],
    ];
    for (const [certificate, message] of refused)
      await expect(certificates.create({ certificate })).rejects.toMatchObject({
        ...{ status: 400, code: 'invalid_value', param: 'certificate', message: expect.stringContaining(message) },
      });
    const p384 = await createKeys({ name: 'ECDSA', namedCurve: 'P-384' });
    const later = await upload(await createCertificate({ keys: p384, begins: 600_000 }));
    await expect(certificates.activate({ certificate_ids: [later] })).rejects.toMatchObject({
      ...{ status: 400, message: expect.stringContaining('is not valid yet') },
    });
    await expect(certificates.activate({ certificate_ids: [] })).rejects.toMatchObject({ status: 400 });
    const eleven = Array.from({ length: 11 }, () => id);
    await expect(certificates.activate({ certificate_ids: eleven })).rejects.toMatchObject({ status: 400 });
    await expect(certificates.retrieve(id, { query: { include: 'all' } })).rejects.toMatchObject({ param: 'include' });
    for (const each of [id, later]) await certificates.delete(each);
  });

  it('are at most 50, and as many active as a policy has room for', async () => {
    const { certificates, projects } = organization;
    const { id: project } = await createProject('full');
    const rsa = await Promise.all(Array.from({ length: 7 }, () => createRsaKeys(2048)));
    const ids: string[] = [];
    for (const keys of rsa) ids.push(await upload(await createCertificate({ keys })));
    await expect(projects.certificates.activate(project, { certificate_ids: ids })).rejects.toMatchObject({
      ...{ status: 400, code: 'invalid_value', message: expect.stringContaining('the maximum is 3000') },
    });
    expect((await projects.certificates.list(project)).data.some(({ active }) => active)).toBe(false);
    while (ids.length < 50) ids.push(await upload(await createCertificate()));
    await expect(upload(await createCertificate())).rejects.toMatchObject({
      ...{ status: 400, message: expect.stringContaining('50 certificates already') },
    });
    await Promise.all(ids.map((id) => certificates.delete(id)));
  });

  it('are changed by their own routes, and a policy can only lose them', async () => {
    const { id: project, key } = await createProject('policy');
    const id = await upload(await createCertificate());
    await organization.projects.certificates.activate(project, { certificate_ids: [id] });
    const path = `/organization/projects/${project}/policy`;
    const send = (adminKey: string, body: object) => createAdmin(adminKey).post(path, { body, ...asAdmin });
    const asAdmin = { __security: { adminAPIKeyAuth: true } };
    expect(await createAdmin('sk-admin-local').get(path, asAdmin)).toEqual({ object: 'project.policy' });
    await expect(send('sk-admin-local', { certificates: [] })).rejects.toMatchObject({
      ...{ status: 400, code: 'invalid_value', param: 'certificates' },
    });
    const { value } = await organization.adminAPIKeys.create({
      ...{ name: 'limits', scopes: ['admin.limits.write'] },
    } as OpenAI.Admin.Organization.AdminAPIKeyCreateParams);
    await expect(send(value, { certificates: null })).rejects.toMatchObject({ status: 403 });
    await send('sk-admin-local', { certificates: null });
    expect(await call(key)).toContain(PASSED);
    await organization.certificates.delete(id);
  });

  it('are never active once they are deleted, even if one is activated while it is deleted', async () => {
    const { certificates, projects } = organization;
    const { id: project, key } = await createProject('raced');
    for (let round = 0; round < 20; round += 1) {
      const ids = { certificate_ids: [await upload(await createCertificate())] };
      const [id = ''] = ids.certificate_ids;
      await Promise.allSettled([projects.certificates.activate(project, ids), certificates.delete(id)]);
      const isDeleted = await certificates.retrieve(id).then(
        () => false,
        () => true,
      );
      if (isDeleted) expect(await call(key), `round ${round}`).toContain(PASSED);
      else {
        await projects.certificates.deactivate(project, ids);
        await certificates.delete(id);
      }
    }
  });

  it('are acts in the audit log', async () => {
    const id = await upload(await createCertificate(), 'audited');
    await organization.certificates.activate({ certificate_ids: [id] });
    await organization.certificates.deactivate({ certificate_ids: [id] });
    await organization.certificates.update(id, { name: 'renamed' });
    await organization.certificates.delete(id);
    const listActs = () =>
      service.logs
        .filter((line) => line.includes(id))
        .map((line) => JSON.parse(line))
        // The function `record` logs each act once more.
        .filter(({ message }) => message === 'administrative act');
    await waitUntil('all acts are logged', () => listActs().length === 5);
    const certificates = [{ id, name: 'audited' }];
    expect(listActs().map(({ act, objectId, details }) => ({ act, objectId, ...JSON.parse(details) }))).toEqual([
      { act: 'certificate.created', objectId: id, name: 'audited' },
      { act: 'certificates.activated', objectId: '#organization', certificates },
      { act: 'certificates.deactivated', objectId: '#organization', certificates },
      { act: 'certificate.updated', objectId: id, name: 'renamed' },
      { act: 'certificate.deleted', objectId: id, name: 'renamed', certificate: expect.stringContaining('BEGIN') },
    ]);
  });
});

describe('a project with an active certificate', () => {
  it('takes requests with a certificate of its authority alone, in each function', async () => {
    const authority = await createCertificate();
    const project = await createProject('guarded');
    const other = await createProject('other');
    const otherAuthority = await createCertificate();
    const { pem } = await createClient(authority);
    const { pem: otherPem } = await createClient(otherAuthority);
    expect(await call(project.key)).toContain(PASSED);
    await organization.projects.certificates.activate(project.id, { certificate_ids: [await upload(authority)] });
    await organization.projects.certificates.activate(other.id, { certificate_ids: [await upload(otherAuthority)] });

    expect(await call(project.key, pem)).toContain(PASSED);
    expect(await call(other.key, otherPem)).toContain(PASSED);
    expect(await call(project.key, otherPem)).toContain(REFUSED);
    expect(await call(other.key, pem)).toContain(REFUSED);
    const forged: CertificateOptions = { signer: otherAuthority.keys, issuer: 'CN=Test' };
    expect(await call(project.key, (await createClient(authority, forged)).pem)).toContain(REFUSED);
    for (const [name, route] of [
      ['chat', 'GET /v1/models'],
      ['embeddings', 'POST /v1/embeddings'],
      ['sessions', 'GET /v1/conversations/{id}'],
      ['responses', 'GET /v1/responses/{id}'],
    ] as const) {
      expect(await call(project.key, undefined, name, route), route).toContain(REFUSED);
      expect(await call(project.key, pem, name, route), route).not.toContain(REFUSED);
    }
    // The laptop has no mutual TLS, so its requests come without certificates.
    const client = new OpenAI({ baseURL: service.cloud.url, apiKey: project.key, maxRetries: 0 });
    await expect(client.models.list()).rejects.toMatchObject({ status: 401, code: 'certificate_not_authorized' });
  });

  it('also takes those of the organization, which restrict no administrator', async () => {
    const [organizations, projects] = [await createCertificate(), await createCertificate()];
    const both = await createProject('both');
    const id = await upload(organizations);
    await organization.projects.certificates.activate(both.id, { certificate_ids: [await upload(projects)] });
    const unguarded = await createProject('unguarded');
    await organization.certificates.activate({ certificate_ids: [id] });
    const { pem } = await createClient(organizations);
    const { pem: own } = await createClient(projects);
    expect(await call(both.key, pem)).toContain(PASSED);
    expect(await call(both.key, own)).toContain(PASSED);
    expect(await call(unguarded.key, pem)).toContain(PASSED);
    for (const certificate of [undefined, own]) expect(await call(unguarded.key, certificate)).toContain(REFUSED);
    expect(await call('sk-admin-local', undefined, 'admin', 'GET /v1/organization/projects')).toContain(PASSED);
    await organization.certificates.deactivate({ certificate_ids: [id] });
    expect(await call(unguarded.key)).toContain(PASSED);
  });
});
