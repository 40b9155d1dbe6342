import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService();
  client = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-admin-local', apiKey: 'sk-local', maxRetries: 0 });
});
afterAll(() => service[Symbol.asyncDispose]());

describe('projects', () => {
  it('a project is created, read, renamed and listed', async () => {
    const { projects } = client.admin.organization;
    const created = await projects.create({ name: 'Website' });
    expect(created).toMatchObject({
      object: 'organization.project',
      name: 'Website',
      status: 'active',
      archived_at: null,
    });
    expect(await projects.retrieve(created.id)).toEqual(created);
    expect(await projects.update(created.id, { name: 'Shop' })).toEqual({ ...created, name: 'Shop' });
    const listed = [];
    for await (const project of projects.list({ limit: 1 })) listed.push(project.id);
    expect(listed).toContain(created.id);
  });
});

describe('keys', () => {
  it("an admin key can't call models, and a project's key can't administrate", async () => {
    const admin = new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-admin-local', maxRetries: 0 });
    await expect(admin.models.list()).rejects.toMatchObject({ status: 403, code: 'insufficient_permissions' });
    const project = new OpenAI({ baseURL: service.cloud.url, adminAPIKey: 'sk-local', maxRetries: 0 });
    await expect(project.admin.organization.projects.list()).rejects.toMatchObject({
      status: 403,
      code: 'insufficient_permissions',
    });
  });
});
