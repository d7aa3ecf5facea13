// What a frontend does with the generated types. It is compiled, not run: a shape that moved, or a
// call that is not typed, fails here.
import createClient from "openapi-fetch";

import type { components, paths } from "./generated/api.js";

type Execution = components["schemas"]["Execution"];
type Job = components["schemas"]["Job"];
type JobInput = components["schemas"]["JobInputRequest"];

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:5001" });

export async function signIn(username: string, password: string): Promise<string> {
  const { data, error, response } = await api.POST("/api/v2/auth/login", { body: { username, password } });
  if (!data) {
    const wait = response.status === 429 ? response.headers.get("Retry-After") : null;
    throw new Error(wait ? `${error.message} (${wait} s)` : error.message);
  }
  api.use({ onRequest: ({ request }) => request.headers.set("Authorization", `Bearer ${data.access_token}`) });
  return `${data.user.username} (${data.user.role satisfies "admin" | "user" | "viewer"})`;
}

export async function allJobs(): Promise<Job[]> {
  const { data } = await api.GET("/api/v2/jobs", { params: { query: { is_active: true, ordering: "-name" } } });
  return data?.jobs ?? [];
}

export async function create(job: JobInput): Promise<Job> {
  const { data, error } = await api.POST("/api/v2/jobs", { body: job });
  if (!data) {
    throw new Error(Object.entries(error.details ?? {}).map(([field, texts]) => `${field}: ${texts.join(" ")}`).join("; "));
  }
  const next: string | null = data.job.next_execution_at;
  console.log(data.message, next);
  return data.job;
}

export async function pause(id: string): Promise<boolean> {
  const { data } = await api.PATCH("/api/v2/jobs/{id}", { params: { path: { id } }, body: { is_active: false } });
  return data?.job.is_active === false;
}

export async function runNow(id: string): Promise<Execution["status"] | undefined> {
  const { data } = await api.POST("/api/v2/jobs/{id}/execute", {
    params: { path: { id } },
    body: { inputs: { day: "2030-01-31" }, ref: "hotfix" },
  });
  return data?.execution.status;
}

export async function failures(from: string): Promise<{ total: number; names: string[] }> {
  const { data } = await api.GET("/api/v2/executions", { params: { query: { status: "failed,missed", from, limit: 200 } } });
  return { total: data?.total ?? 0, names: data?.executions.map((run) => run.job_name) ?? [] };
}

export const daily: JobInput = {
  name: "Daily backup",
  cron_expression: "0 2 * * *",
  pic_team: "devops",
  end_date: "2030-12-31",
  target_url: "https://hooks.example.com/backup",
  notification_emails: ["ops@example.com"],
};
